#!/usr/bin/env python3
"""The parsers and sums of bench/peers.py and bench/accuracy.py, on recorded outputs.

    python3 -m unittest bench/test_scripts.py       # numpy is needed for the second half
"""

import json
import math
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import peers  # noqa: E402

try:
    import numpy
except ImportError:
    numpy = None

BATCHED_BENCH = """\
llama_model_loader: loaded meta data with 23 key-value pairs
main: n_kv_max = 1024, n_batch = 2048, n_ubatch = 512, flash_attn = 1, is_pp_shared = 0, n_threads = 2

|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |
|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|
|     8 |     24 |    1 |     32 |    0.113 |    70.55 |    0.763 |    31.45 |    0.876 |    36.51 |
|     8 |     24 |   16 |    512 |    0.907 |   141.15 |    3.014 |   127.41 |    3.921 |   130.59 |

llama_perf_context_print:        load time =     512.11 ms
"""

LLAMA_BENCH = """\
warning: asserts enabled, performance may be affected
[
  {
    "build_commit": "unknown",
    "n_prompt": 512,
    "n_gen": 0,
    "avg_ts": 187.25,
    "samples_ts": [ 186.5, 188.0 ]
  },
  {
    "build_commit": "unknown",
    "n_prompt": 0,
    "n_gen": 32,
    "avg_ts": 31.0,
    "samples_ts": [ 31.0 ]
  }
]
"""

TUTTI_BENCH = json.dumps({
    "model": "m", "compute": "q8", "isa": "avx2", "threads": 2, "prompt": 512,
    "prefill_tokens_per_second": 250.0, "prefill_share_of_multiply_loop": 0.5,
    "decode": [{"batch": 1, "decode_tokens_per_second": 40.0, "share_of_read_sweep": 0.8},
               {"batch": 16, "decode_tokens_per_second": 260.0, "share_of_read_sweep": 0.3}]})


class Parsers(unittest.TestCase):
    def test_batched_bench(self):
        self.assertEqual(peers.parse_batched_bench(BATCHED_BENCH),
                         {"decode x 1": 31.45, "decode x 16": 127.41})
        with self.assertRaises(ValueError):
            peers.parse_batched_bench("error: unable to load model")

    def test_llama_bench(self):
        self.assertEqual(peers.parse_llama_bench(LLAMA_BENCH), {"prefill 512": 187.25})
        with self.assertRaises(ValueError):
            peers.parse_llama_bench("error: unable to load model")

    def test_tutti_bench(self):
        self.assertEqual(peers.parse_tutti_bench(TUTTI_BENCH),
                         {"prefill 512": 250.0, "decode x 1": 40.0, "decode x 16": 260.0})
        self.assertEqual(peers.shares_of_limits(TUTTI_BENCH),
                         {"prefill 512": 0.5, "decode x 1": 0.8, "decode x 16": 0.3})


class Ratios(unittest.TestCase):
    # The best peer is another one in each round.
    ROUNDS = [{"tutti": {"prefill 512": tutti}, "share_of_limit": {"prefill 512": 0.5},
               "peers": {"a": {"prefill 512": a}, "b": {"prefill 512": b}}}
              for tutti, a, b in [(200, 100, 50), (150, 50, 100), (300, 100, 100)]]

    def test_ratios_are_of_the_same_round(self):
        case = peers.summarise(self.ROUNDS)["prefill 512"]
        self.assertEqual(case["tutti"], {"min": 150, "median": 200, "max": 300})
        self.assertEqual(case["ratio"]["a"], {"min": 2.0, "median": 3.0, "max": 3.0})
        self.assertEqual(case["ratio"]["best"], {"min": 1.5, "median": 2.0, "max": 3.0})

    def test_table_names_case_peers_and_spread(self):
        lines = peers.table(peers.summarise(self.ROUNDS)).splitlines()
        self.assertEqual(len(lines), 3)
        self.assertIn("b, tokens/s", lines[0])
        self.assertEqual(lines[0].count("|"), lines[1].count("|"))
        self.assertIn("2.00 (1.50-3.00)", lines[2])

    def test_without_peers_there_is_no_ratio(self):
        rounds = [dict(r, peers={}) for r in self.ROUNDS]
        self.assertEqual(peers.summarise(rounds)["prefill 512"]["ratio"], {})
        self.assertIn("| 200.0 | 50 % | - |", peers.table(peers.summarise(rounds)))


@unittest.skipIf(numpy is None, "numpy is not installed")
class Divergence(unittest.TestCase):
    def setUp(self):
        import divergence
        self.divergence = divergence

    def test_of_two_coins(self):
        comparison = self.divergence.Comparison()
        p, q = [0.75, 0.25], [0.5, 0.5]
        comparison.add(numpy.log([p, p]) + 3, numpy.log([q, [0.2, 0.8]]))
        expected = [sum(a * math.log(a / b) for a, b in zip(p, other))
                    for other in (q, [0.2, 0.8])]
        self.assertAlmostEqual(comparison.result()["divergence"], sum(expected) / 2)
        self.assertEqual(comparison.result()["top1_agreement"], 0.5)

    def test_a_constant_added_to_a_row_is_no_error(self):
        comparison = self.divergence.Comparison()
        logits = numpy.array([[1.0, 2.0, 4.0]])
        comparison.add(logits, logits + 7)
        self.assertAlmostEqual(comparison.result()["relative_error"], 0)
        self.assertAlmostEqual(comparison.result()["divergence"], 0)

    def test_a_ratio_has_bounds_from_its_chunks(self):
        one, other, twice = (self.divergence.Comparison() for _ in range(3))
        other.divergences = [1.0, 2.0, 3.0, 10.0]
        one.divergences = [1.0, 3.0, 2.0, 9.0]
        twice.divergences = [2.0, 4.0, 6.0, 20.0]
        self.assertEqual(self.divergence.divergence_ratio(twice, other),
                         {"ratio": 2.0, "low": 2.0, "high": 2.0})
        found = self.divergence.divergence_ratio(one, other)
        self.assertAlmostEqual(found["ratio"], 15 / 16)
        self.assertTrue(2 / 3 <= found["low"] < 15 / 16 < found["high"] <= 1.5)

    def test_what_is_far_below_the_largest_counts_as_that_far_below(self):
        far = self.divergence.log_probabilities(numpy.array([[0.0, -16.0], [0.0, -99.0]]))
        self.assertTrue(numpy.array_equal(far[0], far[1]))


if __name__ == "__main__":
    unittest.main()
