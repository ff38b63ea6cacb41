"""Writes text_metrics.json: what rouge-score and jiwer say of some texts. rouge-score 0.1.2, jiwer 4.0.0:
pip install rouge-score==0.1.2 jiwer==4.0.0; python text_metrics.py > text_metrics.json"""
import importlib.metadata
import json
import random

import jiwer
from rouge_score import rouge_scorer

WORDS = ["the", "The", "cat", "sat", "on", "a", "mat,", "mat", "It's", "snake_case", "42", "3.14", "naïve", "Ünïcode",
         "-", "done.", "\u212aelvin", "x\ty", "a\nb", "mat\u00a0rug"]
SPACES = [" ", " ", " ", "  ", " \n ", "\t\t"]

random.seed(11)


def text(most):
    words = [random.choice(WORDS) for _ in range(random.randint(0, most))]
    return "".join(word + random.choice(SPACES) for word in words)


pairs = [("", ""), ("a", ""), ("", "a b"), ("the cat sat", "the cat sat"), ("  the  cat ", "the cat")]
pairs += [(text(12), text(12)) for _ in range(40)]
scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
cases = [{"said": said, "reference": reference,
          "rouge_l": scorer.score(reference, said)["rougeL"].fmeasure,
          "wer": jiwer.wer(reference, said)} for said, reference in pairs]
everything = {"rouge_l": sum(case["rouge_l"] for case in cases) / len(cases),
              "wer": jiwer.wer([r for _, r in pairs], [s for s, _ in pairs])}
print(json.dumps({"rouge-score": importlib.metadata.version("rouge-score"), "jiwer": importlib.metadata.version("jiwer"),
                  "cases": cases, "all": everything}, indent=1))
