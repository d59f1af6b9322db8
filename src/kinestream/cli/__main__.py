"""`python -m kinestream.cli` is `kinestream`."""

from kinestream.cli import main

raise SystemExit(main())
