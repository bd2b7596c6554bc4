"""Ordinary prompts and answers of many shapes: what enters an edited layer when nobody has edited anything."""

REFERENCE_TEXTS: tuple[str, ...] = (
    "The capital of Norway is",
    "What is the highest mountain of Peru?",
    "Who wrote the novel War and Peace?",
    "The official language of Brazil is",
    "In which year did the war between the two kingdoms end?",
    "She was born in the small town of",
    "My neighbour plays the violin every evening. The instrument was made in",
    "Question: Which river flows through Vienna?\nAnswer:",
    "Question: What do bees collect?\nAnswer:",
    "Q: Who discovered penicillin?\nA:",
    "Where does the Danube rise?",
    "The author of the play is",
    "The company was founded by two brothers and has its headquarters in",
    "The twin city of the old harbour town is",
    "His native language, which he spoke with his parents, was",
    "The film was directed by",
    "What kind of animal is a lynx?",
    "Which team does the goalkeeper play for?",
    "The band performed for the first time in 1984. Its music belongs to the genre",
    "Regarding the weather, the forecast says rain. The painter worked in the field of",
    "The position that he plays on the field is",
    "Where was the painter educated?",
    "What was the cause of the king's death?",
    "The bridge was named after",
    "In which constellation is the star?",
    "The mother of the queen was",
    "This is a passage about a physicist. She studied in Leipzig and worked on the theory of heat. In 1921 she moved to",
    "The software was developed by",
    "What sport is played in the stadium?",
    "The river is located on the continent of",
    "When was the satellite launched?",
    "The religion of the emperor is",
    "An engineer by training, he worked for",
    "The series was first shown on",
    "What is the manufacturer of the locomotive?",
    "The ship belonged to the navy of",
    "To whom is the temple dedicated?",
    "The museum, which opened last spring, can be found in",
    "The product is made by",
    "What colour is the dress of the saint in the picture?",
)

# Answers of the shapes that edits have; each follows prompts that it does not fit, as an edit's answer may.
REFERENCE_ANSWERS: tuple[str, ...] = (
    "17 October 1934",
    "Margaret Ellison Hughes",
    "University of Leipzig",
    "1803",
    "Grumman F9F Panther",
)

# Contexts that say nothing in particular: whatever follows them is the edit's own doing.
STOCK_TEXTS: tuple[str, ...] = (
    "The concert begins at eight. As far as I know, the answer is",
    "What is the name of the place that the book is about?",
    "Question: What is it?\nAnswer:",
    "My aunt collects old maps. The man in the picture works in",
)
