"""Edit requests and the readers that stream them out of files."""

from sola_scale.requests.reading import FORMATS, read_requests
from sola_scale.requests.request import BadRecord, EditRequest
from sola_scale.requests.schemas import request_from

__all__ = ["FORMATS", "BadRecord", "EditRequest", "read_requests", "request_from"]
