"""`python -m pipeline <stage>` is `kronufft <stage>`."""

from pipeline.cli import main

main()
