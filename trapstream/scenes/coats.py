"""The colours of coats and feathers."""

TAWNY, BROWN, DARK, GREY, RED = (168, 128, 84), (112, 80, 54), (58, 46, 40), (128, 122, 114), (176, 96, 48)
SAND, WHITE, BLACK = (198, 170, 126), (226, 222, 212), (34, 32, 34)
