"""How the cost grows: one axis at a time from a base point, each point a deployed worker on a broker of its own.

`python -m bench.scale [--axis …] [--limit N] [--resume]`, or `make bench-scale`. Every point that was measured is a
line of `bench/results/scale/points.jsonl`; `report.md` and a picture for each axis are made from those lines.

    axes.py    which points there are, and what is looked at in each (pure)
    fit.py     how fast a figure grows (pure)
    load.py    a point: workers, readings published at full speed, the kernel's books
    keys.py    a point of the axis `keys`: a table filled through the product, restored, and asked
    points.py  the lines, and what need not be measured again
    report.py  the page and the pictures
"""
