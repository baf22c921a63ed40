"""`python -m convnetlab` is the command `convnetlab`."""

from convnetlab.cli import main

main()
