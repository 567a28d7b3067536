"""OpenAI's routes under aiperf, unmodified: `make aiperf`.

It is 1.2 GB, so it has an environment of its own and no place in the suite. It counts a request as
failed whose chunks it cannot read; and one whose failure it is not told of as a success, hence the
last run, of a model that fails amid its streams.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.live.openai_service import openai_folder
from tests.live.service import Service

REQUESTS = 20
RUN_SECONDS = 300
# aiperf would fetch a tokenizer from a hub; what it counts with does not matter here.
TOKENIZER = """
import sys
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
words = "? one two three four five six seven eight nine ten".split()
made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "?"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
special = dict.fromkeys(("unk_token", "pad_token", "bos_token", "eos_token"), "?")
PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(sys.argv[1])
"""
FAILS = ("fail_at:3", "fail_with:503")
RUNS: dict[str, tuple[tuple[str, ...], bool]] = {
    "chat, text-model": (("chat", "text-model", "delay:0"), True),
    "chat, language": (("chat", "language"), True),
    "completions, language": (("completions", "language"), True),
    "responses, language": (("responses", "language"), True),
    "chat, failing amid the stream": (("chat", "language", *FAILS), False),
}


def main(environment: Path) -> int:
    """Run all; the number of runs that did not go as they should."""
    wrong = 0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        tokenizer = folder / "tokenizer"
        python = environment / "bin" / "python"
        command = [python, "-c", TOKENIZER, tokenizer]
        subprocess.run(command, check=True, capture_output=True)
        with Service(openai_folder(folder / "service"), folder / "server.log") as service:
            for name, ((kind, model, *extra), succeeds) in RUNS.items():
                counts = run(environment, service, tokenizer, folder / name, kind, model, extra)
                good, failed = counts
                right = counts == ((REQUESTS, 0) if succeeds else (0, REQUESTS))
                wrong += not right
                print(f"{'ok   ' if right else 'WRONG'} {name}: {good} good, {failed} failed")
    return wrong


def run(
    environment: Path,
    service: Service,
    tokenizer: Path,
    results: Path,
    kind: str,
    model: str,
    extra: list[str],
) -> tuple[int, int]:
    """Requests that went well, and that failed."""
    command: list[Any] = [environment / "bin" / "aiperf", "profile", "--streaming", "--ui", "none"]
    command += ["--url", service.url, "--endpoint-type", kind, "--model", model]
    command += ["--tokenizer", tokenizer, "--artifact-dir", results]
    command += ["--concurrency", "2", "--request-count", str(REQUESTS), "--isl", "20"]
    for each in extra:
        command += ["--extra-inputs", each]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS)
    lines = results / "profile_export.jsonl"
    if not lines.exists():
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
        return 0, 0
    requests = [json.loads(line) for line in lines.read_text().splitlines()]
    failed = sum(each.get("error") is not None for each in requests)
    return len(requests) - failed, failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
