"""Ten digits as a person writes them, and how mouse and finger draw them in Chromium.

A stroke is a list of points (x, y), 0..1 of the sheet.
"""

import math


def arc(x, y, across, down, start, end, points=14):
    """Points of an ellipse around (x, y), from one angle to another, in degrees, clockwise."""
    angles = [math.radians(start + (end - start) * k / points) for k in range(points + 1)]
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]


DIGITS = {
    "0": [arc(0.5, 0.5, 0.2, 0.3, -90, 270)],
    "1": [[(0.42, 0.3), (0.53, 0.18), (0.52, 0.82)]],
    "2": [[*arc(0.5, 0.36, 0.19, 0.18, -170, 40), (0.3, 0.8), (0.72, 0.78)]],
    "3": [arc(0.48, 0.34, 0.18, 0.16, -150, 90) + arc(0.48, 0.66, 0.21, 0.17, -90, 140)],
    "4": [[(0.36, 0.18), (0.28, 0.52), (0.7, 0.54)], [(0.62, 0.3), (0.6, 0.84)]],
    "5": [[(0.68, 0.2), (0.4, 0.2), (0.37, 0.46), *arc(0.48, 0.62, 0.2, 0.19, -110, 140)]],
    "6": [[(0.6, 0.16), (0.42, 0.4), *arc(0.5, 0.65, 0.17, 0.17, -160, 200)]],
    "7": [[(0.28, 0.22), (0.7, 0.2), (0.48, 0.82)]],
    "8": [arc(0.5, 0.33, 0.15, 0.15, 90, 450) + arc(0.5, 0.66, 0.18, 0.18, -90, 270)],
    "9": [[*arc(0.5, 0.36, 0.17, 0.17, 0, -360), (0.66, 0.5), (0.6, 0.84)]],
}


def on_the_screen(browser, strokes):
    """Strokes in the window's pixels."""
    place = "const it = document.getElementById('paper').getBoundingClientRect(); "
    left, top, width, height = browser.execute_script(
        place + "return [it.left, it.top, it.width, it.height]"
    )
    return [[(left + x * width, top + y * height) for x, y in stroke] for stroke in strokes]


def draw_by_mouse(browser, strokes):
    """Draw with the left button down."""

    def send(kind, x, y):
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        event = {"type": kind, "x": x, "y": y, **held}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    for stroke in on_the_screen(browser, strokes):
        send("mousePressed", *stroke[0])
        for point in stroke[1:]:
            send("mouseMoved", *point)
        send("mouseReleased", *stroke[-1])


def draw_by_finger(browser, strokes):
    """Draw with one finger."""

    def send(kind, *points):
        event = {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]}
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    for stroke in on_the_screen(browser, strokes):
        send("touchStart", stroke[0])
        for point in stroke[1:]:
            send("touchMove", point)
        send("touchEnd")
