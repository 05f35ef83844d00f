"""Run the command line: `python -m facetrove` is the same as the command `facetrove`."""

from facetrove.cli.main import main

if __name__ == "__main__":
    main()
