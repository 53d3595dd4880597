"""The whole recipe, one stage after the other: from nothing to published weights.

    python -m model.train.all [--recipe FILE]

Every stage goes on where it stopped, so this does too: kill it when you like and start it again.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from model.train.recipe import RECIPE

# Section of the recipe, and the module that reads it.
STAGES = {
    "speech": "speech",
    "speech_test": "speech",
    "autoencoder": "autoencoder",
    "audio_encoder": "audio_encoder",
    "clips": "clips",
    "onlooker": "onlooker",
    "transformer": "transformer",
    "publish": "publish",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    options = parser.parse_args()
    for section, module in STAGES.items():
        command = [sys.executable, "-m", f"model.train.{module}", "--recipe", str(options.recipe), "--section", section]
        code = subprocess.run(command).returncode
        if code:
            sys.exit(f"stage {section} ended with {code}; start this again to go on with it")


if __name__ == "__main__":
    main()
