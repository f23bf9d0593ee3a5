"""`python -m attrfunc.captum script.py`: see `attrfunc.captum.check`."""

import sys

from attrfunc.captum.check import run
from attrfunc.core.errors import ArgumentError

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("python -m attrfunc.captum script.py [arguments]: run a script of Captum's, and compare each call.")
        sys.exit(len(sys.argv) < 2)
    try:
        run(sys.argv[1], sys.argv[2:])
    except ArgumentError as error:
        sys.exit(str(error))
