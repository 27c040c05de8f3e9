"""`python -m nb2prod`."""

from nb2prod.shells.cli import main

main()
