"""Trains the embedded model and writes build/model.pt and build/tokenizer.json.

    python train.py --minutes 45
"""

import argparse
import json
import math
import os
import random
import time
from dataclasses import asdict
from pathlib import Path

import torch
from tokenizers import Tokenizer

from data import HERE, Sampler
from model import Config, Llama
from muon import Muon
from tokenizer import Encoder, train as train_tokenizer

OUT = HERE / "build"
MAX_TOKENS = 512


def sample(sampler: Sampler, enc: Encoder, cut: float, lm: float):
    """-> (ids, weights). `cut`: the share of samples that end after the first tokens of the last answer."""
    r = sampler.rng
    ids, w = ([enc.bos], [0.0]) if r.random() < 0.4 else ([], [])
    if r.random() < 0.02:  # plain text, for completions without a chat template
        body = enc.cached(r.choice(sampler.pairs).answer) + [enc.end]
        return [enc.bos] + body, [0.0] + [1.0] * len(body)
    turns = sampler.conversation()
    for i, (role, text) in enumerate(turns):
        ids += enc.head[role]
        w += [0.0] * len(enc.head[role])
        if role == "assistant":
            body = enc.cached(text) + [enc.end]
            weights = [3.0] * 4 + [1.0] * (len(body) - 4)
            if i == len(turns) - 1 and r.random() < cut:
                length = enc.distinguishing_length(text, sampler)
                body, weights = body[:length], weights[:length]
            ids += body + enc.newline
            w += weights + [0.0] * len(enc.newline)
        else:
            body = enc.cached(text) if role == "system" else enc.pieces(text) if r.random() < 0.5 else enc.text(text)
            ids += body + [enc.end] + enc.newline
            w += [lm if role == "user" else 0.0] * len(body) + [0.0] * (1 + len(enc.newline))
    return ids[:MAX_TOKENS], w[:MAX_TOKENS]


def batches(sampler, enc, tokens, cut, lm):
    """Batches of about `tokens` tokens. The samples of a batch have similar lengths."""
    while True:
        pool = sorted((sample(sampler, enc, cut(), lm()) for _ in range(1024)), key=lambda s: len(s[0]))
        cutoffs, batch, made = [], [], []
        for s in pool:
            if batch and (len(batch) + 1) * len(s[0]) > tokens:
                made.append(batch)
                batch = []
            batch.append(s)
        made.append(batch)
        sampler.rng.shuffle(made)
        for batch in made:
            length = max(len(ids) for ids, _ in batch)
            x = torch.full((len(batch), length), enc.bos)
            w = torch.zeros(len(batch), length)
            for row, (ids, weights) in enumerate(batch):
                x[row, : len(ids)] = torch.tensor(ids)
                w[row, : len(ids)] = torch.tensor(weights)
            yield x, w


@torch.no_grad()
def greedy(model, enc, question, limit=90):
    ids = enc.head["user"] + enc.text(question) + [enc.end] + enc.newline + enc.head["assistant"]
    out = []
    while len(out) < limit:
        token = int(model(torch.tensor([ids + out]))[0, -1].argmax())
        if token == enc.end:
            break
        out.append(token)
    return enc.tokenizer.decode(out)


@torch.no_grad()
def first_tokens(model, enc, cases, answers, count=12):
    """-> (share of `cases` whose next `count` tokens begin the expected answer, mean log-probability of those tokens)."""
    right, logs = 0, 0.0
    for c in cases:
        ids = enc.head["user"] + enc.text(c["question"]) + [enc.end] + enc.newline + enc.head["assistant"]
        target = torch.tensor(enc.cached(answers[c["pair"]])[:count])
        logits = model(torch.tensor([ids + target.tolist()]))[0, len(ids) - 1 : -1]
        right += int((logits.argmax(-1) == target).all())
        logs += logits.log_softmax(-1).gather(1, target[:, None]).sum().item()
    return right / len(cases), logs / len(cases)


def load(model, state):
    """Loads saved weights. Additional layers come after the saved ones and start as the identity."""
    fresh = {k: torch.zeros_like(v) if k.endswith(("o.weight", "down.weight")) else v for k, v in model.state_dict().items()}
    assert state.keys() <= fresh.keys()
    model.load_state_dict(fresh | state)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--minutes", type=float, default=45)
    p.add_argument("--batch-tokens", type=int, default=3072)
    p.add_argument("--lr", type=float, default=1.5e-3)
    p.add_argument("--layers", type=int, default=5)
    p.add_argument("--vocab", type=int, default=2048)
    p.add_argument("--threads", type=int, default=2, help="0: the number of idle cores, at least one")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--out", type=Path, default=OUT)
    p.add_argument("--brief", action="store_true", help="shorter and less varied samples: more questions a second")
    p.add_argument("--lm", type=float, default=0.0, help="weight of the questions' own tokens while resuming")
    p.add_argument("--dropout", type=float, default=0.15)
    p.add_argument("--optimizer", choices=["muon", "adamw"], default="muon")
    p.add_argument("--bf16", action="store_true", help="multiply in bfloat16: faster where the CPU can do it")
    p.add_argument("--report", type=float, default=180, help="seconds between reports and saved weights")
    p.add_argument("--resume", action="store_true", help="continue from build/model.pt with its tokenizer, at a lower rate")
    args = p.parse_args()
    args.out.mkdir(exist_ok=True)
    torch.set_num_threads(args.threads or 1)
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    file = args.out / "tokenizer.json"
    enc = Encoder(Tokenizer.from_file(str(file)) if args.resume else train_tokenizer(args.vocab, file))
    sampler = Sampler(args.seed, args.brief)
    config = Config(vocab=args.vocab, layers=args.layers, dropout=args.dropout)
    model = Llama(config)
    if args.resume:
        load(model, torch.load(args.out / "model.pt")["state"])
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(sampler.pairs)} pairs", flush=True)
    # Muon learns the blocks' matrices in about half the steps of AdamW; embeddings and norms stay with AdamW.
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    others = [model.embed.weight, *(p for p in model.parameters() if p.dim() == 1)]
    adamw = lambda params, decay: torch.optim.AdamW(params, lr=args.lr, weight_decay=decay, betas=(0.9, 0.98), fused=True)
    optimizers = [Muon(matrices, lr=args.lr) if args.optimizer == "muon" else adamw(matrices, 0.1), adamw(others, 0.01)]
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    answers = {pair.name: pair.answer for pair in sampler.pairs}
    dev = json.loads((HERE / "dev.json").read_text()) if (HERE / "dev.json").exists() else []
    # The clock counts at most five seconds a step, so that a pause of the process does not shorten training.
    elapsed, total = 0.0, args.minutes * 60
    done = lambda: elapsed / total
    stream = batches(
        sampler, enc, args.batch_tokens, cut=lambda: 0.0 if done() < 0.25 and not args.resume else 0.94 if args.brief else 0.88, lm=lambda: args.lm if args.resume else 0.1 if done() < 0.7 else 0.03
    )
    step, seen, shown, reported = 0, 0, 0.0, 0.0
    while done() < 1:
        began = time.time()
        x, w = next(stream)
        rate = args.lr * min(1, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, done()))))
        for opt in optimizers:
            for g in opt.param_groups:
                g["lr"] = rate
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            loss = model.loss(x, w)
        for opt in optimizers:
            opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            for opt in optimizers:
                opt.step()
        step += 1
        if args.threads == 0 and step % 10 == 0:  # on a busy machine, threads that wait for each other make training slower
            spare = os.cpu_count() - (os.getloadavg()[0] - torch.get_num_threads())
            torch.set_num_threads(max(1, min(os.cpu_count(), round(spare))))
        seen += x.numel()
        decay = min(0.996, (step + 1) / (step + 10))
        with torch.no_grad():
            for k, v in model.state_dict().items():
                average[k].lerp_(v, 1 - decay)
        shown = 0.98 * shown + 0.02 * loss.item() if step > 1 else loss.item()
        elapsed += min(5.0, time.time() - began)
        if elapsed - reported > args.report:
            reported = elapsed
            kept = {k: v.clone() for k, v in model.state_dict().items()}
            model.load_state_dict(average)
            model.eval()
            right, logs = first_tokens(model, enc, dev, answers) if dev else (float("nan"), float("nan"))
            torch.save({"config": asdict(config), "state": average}, args.out / "model.pt")
            model.load_state_dict(kept)
            model.train()
            print(f"{done():.0%} step {step} tokens {seen:,} loss {shown:.3f} dev {right:.1%} {logs:.3f} rejected {sampler.rejected}/{sampler.drawn}", flush=True)
    torch.save({"config": asdict(config), "state": average}, args.out / "model.pt")
    model.load_state_dict(average)
    model.eval()
    for c in dev:
        got = greedy(model, enc, c["question"])
        if got != answers[c["pair"]]:
            print(f"miss {c['pair']}: {c['question']} -> {got}")
    print(f"done: {step} steps, {seen:,} tokens, {elapsed:.0f} s, rejected {sampler.rejected} of {sampler.drawn} wordings")


if __name__ == "__main__":
    main()
