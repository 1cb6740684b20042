"""Corpus, augmentation and samples.

A corpus file is a list of blocks:

    @ name
    > the answer
    - a wording, {with|having} alternatives

Braces do not nest. A block without an answer adds wordings to the pair of that
name. `<x>` is any word of augment/everyday.txt.
"""

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
RUN = 5
IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
SPECIALS = [END_OF_TEXT, IM_START, IM_END]


@dataclass(frozen=True)
class Pair:
    name: str
    answer: str
    wordings: tuple[str, ...]


def read_corpus(folder: Path = HERE / "corpus") -> list[Pair]:
    answers: dict[str, str] = {}
    wordings: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.txt")):
        for block in re.split(r"\n(?=@ )", path.read_text().strip()):
            head, *lines = (line.strip() for line in block.splitlines() if line.strip())
            assert head.startswith("@ ") and all(line[:2] in ("> ", "- ") for line in lines), (path, head)
            name, answer = head[2:], [line[2:] for line in lines if line.startswith("> ")]
            assert len(answer) <= 1 and not (answer and name in answers), (path, head)
            if answer:
                answers[name] = answer[0]
            wordings.setdefault(name, []).extend(line[2:] for line in lines if line.startswith("- "))
    assert answers.keys() == wordings.keys(), answers.keys() ^ wordings.keys()
    return [Pair(name, answer, tuple(wordings[name])) for name, answer in answers.items()]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def runs(text: str) -> set[tuple[str, ...]]:
    w = words(text)
    return {tuple(w[i : i + RUN]) for i in range(len(w) - RUN + 1)}


def forbidden_runs() -> set[tuple[str, ...]]:
    """All runs of five words in the held-out and development questions. No training sample may contain one."""
    found = set()
    for name in ("heldout.json", "dev.json"):
        if (HERE / name).exists():
            for case in json.loads((HERE / name).read_text()):
                found |= runs(case["question"])
    return found


def read_lines(name: str) -> list[str]:
    lines = (line.strip() for line in (HERE / "augment" / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


class Sampler:
    def __init__(self, seed: int, brief: bool = False):
        self.rng = random.Random(seed)
        self.pairs = read_corpus()
        self.forbidden = forbidden_runs()
        self.rejected = self.drawn = 0
        self.share = [len(p.wordings) ** 0.5 * (2 if p.name == "out-of-scope" else 1) for p in self.pairs]
        self.turns = [96, 3, 1, 0] if brief else [86, 9, 3, 2]
        self.system_share = 0.08 if brief else 0.22
        self.plain_share, self.loose_share = (0.25, 0.15) if brief else (0.1, 0.25)
        self.openers, self.closers = read_lines("openers.txt"), read_lines("closers.txt")
        self.fillers, self.systems = read_lines("fillers.txt"), read_lines("systems.txt")
        self.synonyms: dict[str, list[str]] = {}
        for line in read_lines("synonyms.txt"):
            group = [w.strip() for w in line.split(",")]
            for w in group:
                if " " not in w:
                    self.synonyms.setdefault(w, []).extend(o for o in group if o != w)
        self.contexts = read_lines("contexts.txt")
        self.everyday = " ".join(read_lines("everyday.txt")).split()
        self.lexicon = {}
        for line in read_lines("lexicon-1.txt") + read_lines("lexicon-2.txt"):
            name, rest = line.split(": ", 1)
            self.lexicon[name] = [w.replace("_", " ") if not w.isupper() and "`" not in w else w for w in rest.split()]
        self.frames = []
        for line in read_lines("frames.txt"):
            old, new = line.split(" => ")
            self.frames.append((old, [n.strip() for n in new.split("|")]))
        self.small_list = read_lines("small-words.txt")
        self.small = set(self.small_list)

    def expand(self, text: str) -> str:
        text = re.sub(r"<x>", lambda _: self.rng.choice(self.everyday) if self.rng.random() < 0.9 else self._word(), text)
        return re.sub(r"\{([^{}]*)\}", lambda m: self.rng.choice(m[1].split("|")), text)

    def _word(self) -> str:
        """An invented word, in place of a word that the model has never seen."""
        r = self.rng
        return "".join(r.choice("bcdfghjklmnprstvwz") + r.choice("aeiou") + r.choice(["", "", "n", "r", "s", "l"]) for _ in range(r.randint(2, 4)))

    def _reframe(self, text: str) -> str:
        low = text.lower()
        for old, new in self.frames:
            if low.startswith(old + " ") and self.rng.random() < 0.7:
                return self.rng.choice(new) + text[len(old) :]
        return text

    def _typo(self, w: str) -> str:
        r = self.rng
        if len(w) < 4:
            return w
        i = r.randrange(len(w) - 1)
        kind = r.random()
        if kind < 0.35:
            return w[:i] + w[i + 1] + w[i] + w[i + 2 :]
        if kind < 0.65:
            return w[:i] + w[i + 1 :]
        if kind < 0.85:
            return w[:i] + w[i] + w[i:]
        return w[:i] + r.choice("abcdefghijklmnopqrstuvwxyz") + w[i + 1 :]

    def _question(self, wording: str) -> str:
        r = self.rng
        text = self.expand(wording)
        if r.random() < self.plain_share:
            return text[0].upper() + text[1:] + "?" if r.random() < 0.6 else text
        if r.random() < 0.4:
            text = self._reframe(text)
        w = text.split()
        # Short wordings are names and definitions, so their words are rarely replaced.
        swap = 0.04 if len([x for x in w if x.lower() not in self.small]) <= 2 else r.choice([0.0, 0.15, 0.3, 0.5])
        out = []
        for word in w:
            bare = word.lower().strip("?,.!")
            if bare in self.synonyms and r.random() < swap:
                out.extend(r.choice(self.synonyms[bare]).split())
            else:
                out.append(word)
        w = out
        if r.random() < 0.5:  # drop some of the words, small ones more often
            p_small, p_big = r.choice([(0.2, 0.05), (0.5, 0.1), (0.9, 0.1), (0.3, 0.25)])
            kept = [x for x in w if r.random() >= (p_small if x.lower().strip("?,.!") in self.small else p_big)]
            if kept and any(x.lower().strip("?,.!") not in self.small for x in kept):
                w = kept
        if r.random() < 0.25:
            for _ in range(r.randint(1, 3)):
                w.insert(r.randint(0, len(w)), r.choice(self.fillers) if r.random() < 0.9 else self._word())
        if r.random() < 0.12:
            r.shuffle(w)
        elif r.random() < 0.15 and len(w) > 3:  # the second half first
            cut = r.randint(1, len(w) - 1)
            w = w[cut:] + w[:cut]
        if r.random() < 0.12:
            i = r.randrange(len(w))
            w[i] = self._typo(w[i])
        text = " ".join(w).strip(" ?.!,")
        if r.random() < 0.4:
            text = r.choice(self.openers) + " " + text
        if r.random() < 0.15:
            text = text + " " + r.choice(self.closers)
        if r.random() < 0.55:
            text = text[0].upper() + text[1:]
        elif r.random() < 0.6:
            text = text.lower()
        elif r.random() < 0.05:
            text = text.upper()
        return text + r.choices(["?", "", ".", "??", " ?", "!"], [60, 24, 8, 2, 3, 3])[0]

    def _loose(self, pair: Pair) -> str:
        """Words of the pair's topic in random order, so that the model also recognizes a question without grammar."""
        r = self.rng
        w = r.sample(self.lexicon[pair.name], min(len(self.lexicon[pair.name]), r.choice([2, 3, 3, 4, 4, 5, 6])))
        if pair.name == "out-of-scope":
            w = w[:2] + r.sample(self.everyday, r.choice([1, 1, 2, 3]))
            if r.random() < 0.4:
                w.append(r.choice(self.lexicon[r.choice(self.pairs).name]))
        elif r.random() < 0.6:
            own = [x for x in self.expand(r.choice(pair.wordings)).split() if x.lower().strip("?,.!") not in self.small]
            w += r.sample(own, min(len(own), r.choice([1, 2, 3])))
        for _ in range(r.choice([0, 1, 2, 3, 5])):
            w.append(r.choice(self.small_list) if r.random() < 0.7 else r.choice(self.fillers))
        r.shuffle(w)
        if r.random() < 0.5:
            w.insert(0, r.choice(["how", "what", "which", "can", "is", "does", "where", "when", "why", "who", "my", "how do I", "what is", "is there", "may", "will"]))
        if r.random() < 0.1:
            i = r.randrange(len(w))
            w[i] = self._typo(w[i])
        text = " ".join(w)
        return (text[0].upper() + text[1:] if r.random() < 0.5 else text) + r.choice(["?", "?", "", "."])

    def question(self, pair: Pair) -> str:
        """An augmented wording of the pair that shares no five-word run with the held-out and development questions."""
        r = self.rng
        while True:
            self.drawn += 1
            text = self._loose(pair) if r.random() < self.loose_share else self._question(r.choice(pair.wordings))
            kind = r.random()
            if kind < 0.12:  # two wordings, one after the other
                text = text.rstrip("?!. ") + r.choice([". ", ", ", "? ", " - ", ": "]) + self._question(r.choice(pair.wordings))
            elif kind < 0.22:
                text = r.choice(self.contexts) + " " + text
            elif kind < 0.26:
                text = text.rstrip("!. ") + r.choice(["? ", ". "]) + r.choice(self.contexts)
            if not (runs(text) & self.forbidden):
                return text
            self.rejected += 1

    def conversation(self) -> list[tuple[str, str]]:
        """[(role, text)]: one to three unrelated turns, sometimes after a system message."""
        r = self.rng
        turns = []
        json_mode = r.random() < 0.02
        if json_mode:
            turns.append(("system", r.choice(["Answer in JSON.", "Reply with a JSON object only.", "Respond in JSON with the key answer."])))
        elif r.random() < self.system_share:
            turns.append(("system", r.choice(self.systems)))
        for _ in range(r.choices([1, 2, 3, 4], self.turns)[0]):
            pair = r.choices(self.pairs, self.share)[0]
            answer = json.dumps({"answer": pair.answer}, ensure_ascii=False) if json_mode else pair.answer
            turns += [("user", self.question(pair)), ("assistant", answer)]
        return turns
