"""The sola command: one file a group of commands."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit: 0 if all went well, 1 if something failed, 2 if it was called wrongly."""
    from sola_scale.cli.app import app
    from sola_scale.cli.output import report_error
    from sola_scale.errors import SolaError

    try:
        app(prog_name="sola")
    except SolaError as error:
        report_error(error, as_json="--json" in sys.argv)
        sys.exit(1)
    sys.exit(0)
