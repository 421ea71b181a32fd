"""How `make docs` builds the site; read the pages in build/site, from disk."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs/extensions"))

project = "Kronufft"
author = "The Kronufft developers"
copyright = "The Kronufft developers, Apache-2.0"  # noqa: A001

extensions = [
    "made_from_code",
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
]
# The root of the repository is the source, so that links of a page lead to the same file here and
# where the repository is read.
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "config/README.md", "docs/**"]
exclude_patterns = [".venv", ".snakemake", "build", "results"]

html_theme = "furo"
html_title = "Kronufft"
html_theme_options = {"top_of_page_buttons": []}
html_additional_pages = {"index": "to_home.html"}
templates_path = ["templates"]
html_show_sphinx = False
# Summaries of what was found are fetched, which browsers do not allow from disk.
html_show_search_summary = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 5

numpydoc_show_class_members = False

plot_basedir = str(ROOT / "docs/gallery")
plot_include_source = True
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 130)]
