"""Writes resize.json: what Pillow makes of a small image. Pillow 11.3.0: python resize.py > resize.json"""
import json

import PIL
from PIL import Image

WIDTH, HEIGHT = 30, 20


def pixel(x, y):
    return (x * 7 + y * 13) % 256, (x * x + 3 * y) % 256, (x * y * 5) % 256


image = Image.new("RGB", (WIDTH, HEIGHT))
image.putdata([pixel(x, y) for y in range(HEIGHT) for x in range(WIDTH)])
cases = []
for width, height in ((12, 8), (45, 32), (30, 7)):
    for resample in (1, 2, 3, 4, 5):
        resized = image.resize((width, height), resample=resample)
        cases.append({"width": width, "height": height, "resample": resample,
                      "rgb": [c for p in resized.getdata() for c in p]})
grey = list(image.convert("L").getdata())
print(json.dumps({"pillow": PIL.__version__, "width": WIDTH, "height": HEIGHT, "grey": grey, "cases": cases}))
