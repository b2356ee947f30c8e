"""``python -m t2icli``: the same program as ``t2i``; what torchrun launches."""

from t2icli.cli import main

if __name__ == "__main__":
    main()
