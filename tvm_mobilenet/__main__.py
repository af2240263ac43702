"""``python -m tvm_mobilenet``: the command line without its script on PATH."""

import sys

from tvm_mobilenet.cli import main

sys.exit(main())
