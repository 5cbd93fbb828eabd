"""Let `transformers` split texts. Run by the interpreter of a peer:

    python -m tests.reference.record_tokenizers JOBS.json

JOBS.json is a list of jobs. Beside every NAME.texts.json in a job's folder, NAME.result.json gets
what came out: ids, texts read back from them, and the small files that the peer saves for such a
tokenizer.
"""

import json
import sys
from pathlib import Path
from typing import Any

import transformers

SMALL_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def run(job: dict[str, Any]) -> None:
    """Split and read back all texts of one job."""
    tokenizer = getattr(transformers, job["class"]).from_pretrained(
        job["folder"], split_special_tokens=not job["specials"], **job["options"]
    )
    tokenizer.add_tokens(job["add"])
    if job["add_special"]:
        tokenizer.add_special_tokens({"additional_special_tokens": job["add_special"]})
    folder = Path(job["folder"])
    saved = folder / "saved"
    tokenizer.save_pretrained(saved)
    files = {
        name: json.loads((saved / name).read_text(encoding="utf-8"))
        for name in SMALL_FILES
        if (saved / name).exists()
    }
    about = {"version": transformers.__version__, "files": files}
    for path in folder.glob("*.texts.json"):
        texts = json.loads(path.read_text(encoding="utf-8"))
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        decoded = [tokenizer.decode(row) for row in ids] if job["decode"] else []
        target = folder / path.name.replace(".texts.", ".result.")
        target.write_text(json.dumps({**about, "ids": ids, "decoded": decoded}), encoding="utf-8")


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()  # texts may be longer than a model reads
    for each in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        run(each)
