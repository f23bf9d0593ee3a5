"""`python -m attrfunc` is the command `attrfunc`."""

from attrfunc.cli import main

if __name__ == "__main__":
    main()
