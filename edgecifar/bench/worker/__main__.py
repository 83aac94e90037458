"""`python -m edgecifar.bench.worker`."""

from edgecifar.bench.worker.commands import main

if __name__ == "__main__":
    main()
