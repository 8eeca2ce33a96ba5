"""``python -m qrecipe``."""

from .cli import main

raise SystemExit(main())
