"""How Sphinx makes the documentation a site: `./dev site`."""

project = "dpedkit"
author = "the dpedkit developers"
html_title = "dpedkit"
extensions = ["myst_parser", "sphinx_copybutton"]
myst_heading_anchors = 3
html_theme = "furo"
