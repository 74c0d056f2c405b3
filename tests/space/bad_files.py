"""Campaign files that must be refused: what is changed in a good one, by case."""

GOOD = """\
name: demo
title: A demonstration
task:
  name: mqar
  vocab_size: 256
  fillers: zero
  cells:
    - {length: 16, pairs: 2}
    - {length: 32, pairs: 4}
space:
  d_model: {choice: [32, 64]}
  position: {choice: [none, rotary]}
  norm: layernorm
  depth: {choice: [2, 3]}
  layers:
    base:
      sequence: {mixer: short_conv, kernel_size: {choice: [3, 5]}}
      channel: none
    placement:
      sequence:
        choice:
          - attention
          - {mixer: sliding_window, window: {choice: [16, sqrt, N/8]}}
      rule: {choice: [positions, {every: {choice: [1, 2]}}, {count: {range: [1, 2]}}]}
training: {steps: 100, batch_tokens: 1024, learning_rate: 1e-3}
objectives: [accuracy, flops]
constraints: [growth < 2, params <= 2e6]
search: {sampler: tpe, trials: 10, seed: 0}
"""

PLACEMENT = GOOD[GOOD.index("    base:\n") : GOOD.index("training:")]
EACH = "    each: {sequence: attention}\n"

# case: (text to replace, replacement); None replaces the whole file
CASES: dict[str, tuple[str | None, str]] = {
    # the text itself
    "empty": (None, ""),
    "only_comment": (None, "# nothing here\n"),
    "only_null": (None, "~\n"),
    "scalar_file": (None, "hello\n"),
    "list_file": (None, "- name: demo\n"),
    "tab_indent": ("  d_model:", "\td_model:"),
    "wrong_indent": ("  norm: layernorm", "   norm: layernorm"),
    "open_bracket": ("[32, 64]", "[32, 64"),
    "open_brace": ("training: {steps: 100,", "training: {{steps: 100,"),
    "open_quote": ("title: A demonstration", "title: 'A demonstration"),
    "colon_in_text": ("title: A demonstration", "title: Recall: a demonstration"),
    "percent": ("title: A demonstration", "title: %x"),
    "at_sign": ("title: A demonstration", "title: @home"),
    "control_character": ("demonstration", "demon\x07stration"),
    "second_document": ("search:", "---\nsearch:"),
    "tag_python": ("name: demo", "name: !!python/object/apply:os.system ['true']"),
    "tag_plain": ("steps: 100", "steps: !!str 100"),
    "anchor_alias": ("  d_model: {choice: [32, 64]}", "  d_model: &w {choice: [32, 64]}\n  x: *w"),
    "merge_key": ("search: {", "search: {<<: {}, "),
    "list_as_key": ("  norm: layernorm", "  [a, b]: layernorm"),
    "duplicate_key": ("  norm: layernorm", "  norm: layernorm\n  norm: rmsnorm"),
    "duplicate_top_key": ("search:", "name: other\nsearch:"),
    # scalars that readers of YAML take differently
    "octal": ("steps: 100", "steps: 0100"),
    "hexadecimal": ("steps: 100", "steps: 0x64"),
    "sexagesimal": ("steps: 100", "steps: 12:30"),
    "grouped_digits": ("steps: 100", "steps: 1_000"),
    "date": ("title: A demonstration", "title: 2026-11-01"),
    "infinite": ("learning_rate: 1e-3", "learning_rate: .inf"),
    "not_a_number": ("learning_rate: 1e-3", "learning_rate: .nan"),
    "overflow": ("learning_rate: 1e-3", "learning_rate: 1e999"),
    "beyond_2_53": ("seed: 0", "seed: 9007199254740993"),
    "many_digits": ("seed: 0", "seed: " + "9" * 5000),
    "yes_is_text": ("{range: [1, 2]}", "{range: [1, 2], log: yes}"),
    "norway": ("sampler: tpe", "sampler: no"),
    "float_for_int": ("steps: 100", "steps: 1e2"),
    "text_for_int": ("steps: 100", "steps: '100'"),
    "bool_for_int": ("steps: 100", "steps: true"),
    "null_for_int": ("steps: 100", "steps:  "),
    # keys
    "unknown_top_key": ("search:", "serach:"),
    "unknown_space_key": ("  depth:", "  num_layers:"),
    "near_space_key": ("  d_model:", "  d_modle:"),
    "unknown_training_key": ("steps: 100", "stpes: 100"),
    "unknown_cell_key": ("pairs: 2", "pair: 2"),
    "unknown_far_key": ("norm: layernorm", "zzzz: layernorm"),
    "missing_name": ("name: demo\n", ""),
    "missing_space": (GOOD[GOOD.index("space:") : GOOD.index("training:")], ""),
    "missing_depth": ("  depth: {choice: [2, 3]}\n", ""),
    "missing_cells": ("  cells:\n    - {length: 16, pairs: 2}\n    - {length: 32, pairs: 4}\n", ""),
    "missing_rule": ("      rule:", "      #rule:"),
    "missing_sequence": ("sequence: {mixer: short_conv, kernel_size: {choice: [3, 5]}}", "#"),
    # names
    "name_with_slash": ("name: demo", "name: ../demo"),
    "name_with_space": ("name: demo", "name: my demo"),
    "name_number": ("name: demo", "name: 12"),
    "name_empty": ("name: demo", "name: ''"),
    "name_long": ("name: demo", "name: " + "x" * 101),
    "name_dash": ("name: demo", "name: -demo"),
    "name_newline": ("name: demo", 'name: "a\\n"'),
    "title_of_two_lines": ("title: A demonstration", 'title: "A\\n demonstration"'),
    "title_list": ("title: A demonstration", "title: [a]"),
    # the task
    "unknown_task": ("name: mqar", "name: mqr"),
    "odd_length": ("length: 16", "length: 15"),
    "too_many_pairs": ("pairs: 2", "pairs: 5"),
    "small_vocab": ("vocab_size: 256", "vocab_size: 32"),
    "bad_filler": ("fillers: zero", "fillers: zeros"),
    "cells_not_list": ("- {length: 16, pairs: 2}\n    - {length: 32, pairs: 4}", "16"),
    "no_cells": ("\n    - {length: 16, pairs: 2}\n    - {length: 32, pairs: 4}", " []"),
    # domains
    "empty_choice": ("[32, 64]", "[]"),
    "duplicate_choice": ("[32, 64]", "[32, 64, 32]"),
    "choice_text": ("[32, 64]", "[32, wide]"),
    "choice_float": ("[32, 64]", "[32, 64.0]"),
    "choice_zero": ("[32, 64]", "[0, 64]"),
    "choice_not_list": ("[32, 64]", "32"),
    "bare_list": ("{choice: [32, 64]}", "[32, 64]"),
    "misspelt_choice": ("{choice: [32, 64]}", "{chioce: [32, 64]}"),
    "choice_and_range": ("{choice: [32, 64]}", "{choice: [32], range: [32, 64]}"),
    "empty_mapping": ("{choice: [32, 64]}", "{}"),
    "nothing": ("{choice: [32, 64]}", ""),
    "low_above_high": ("{choice: [32, 64]}", "{range: [64, 32]}"),
    "range_of_three": ("{choice: [32, 64]}", "{range: [32, 64, 128]}"),
    "range_step_zero": ("{choice: [32, 64]}", "{range: [32, 64], step: 0}"),
    "range_step_float": ("{choice: [32, 64]}", "{range: [32, 64], step: 0.5}"),
    "range_step_misses": ("{choice: [32, 64]}", "{range: [32, 64], step: 12}"),
    "range_log_step": ("{choice: [32, 64]}", "{range: [32, 64], log: true, step: 2}"),
    "range_log_zero": ("{range: [1, 2]}", "{range: [0, 2], log: true}"),
    "range_of_text": ("{choice: [16, sqrt, N/8]}", "{range: [16, sqrt]}"),
    "unknown_position": ("[none, rotary]", "[none, rotery]"),
    "unknown_norm": ("norm: layernorm", "norm: batchnorm"),
    # mixers
    "unknown_mixer": ("- attention", "- atention"),
    "far_mixer": ("- attention", "- transformer"),
    "channel_as_sequence": ("- attention", "- mlp"),
    "sequence_as_channel": ("channel: none", "channel: short_conv"),
    "duplicate_mixer": ("- attention", "- attention\n          - {mixer: attention, num_heads: 2}"),
    "unknown_option": ("window: {choice", "windows: {choice"),
    "option_out_of_bounds": ("choice: [3, 5]", "choice: [3, 500]"),
    "option_wrong_policy": ("sqrt, N/8", "sqrt, N/0"),
    "option_wrong_text": ("sqrt, N/8", "sqrt, half"),
    "option_range_bounds": ("{choice: [3, 5]}", "{range: [1, 5]}"),
    "mixer_missing": ("{mixer: short_conv, kernel", "{kernel"),
    "mixer_list": ("{mixer: short_conv, kernel_size: {choice: [3, 5]}}", "[short_conv]"),
    "mixer_number": ("- attention", "- 3"),
    "mixer_choice_inside": ("mixer: short_conv", "mixer: {choice: [short_conv]}"),
    "nested_choice": ("- attention", "- {choice: [attention]}"),
    "heads_never_divide": ("- attention", "- {mixer: attention, num_heads: 5}"),
    # layers
    "no_layers_form": (PLACEMENT, "    {}\n"),
    "two_layers_forms": ("    base:\n", EACH + "    base:\n"),
    "misspelt_each": (PLACEMENT, EACH.replace("each", "eahc")),
    "list_with_depth": (PLACEMENT, "    list: [{sequence: attention}]\n"),
    "empty_list": (PLACEMENT, "    list: []\n"),
    "local_conv_of_two": (PLACEMENT, EACH.replace("}", ", local_conv: 2}")),
    "local_conv_choice": (PLACEMENT, EACH.replace("}", ", local_conv: {choice: [0, 5]}}")),
    "local_conv_range": (PLACEMENT, EACH.replace("}", ", local_conv: {range: [0, 4]}}")),
    "channel_in_parallel": (PLACEMENT, EACH.replace("}", ", parallel: {choice: [none, mlp]}}")),
    "misspelt_parallel": (PLACEMENT, EACH.replace("}", ", paralel: attention}")),
    "unknown_preset": (
        "  norm: layernorm\n  depth: {choice: [2, 3]}\n  layers:\n" + PLACEMENT,
        "  depth: 2\n  layers:\n    preset: lama\n",
    ),
    "preset_with_norm_and_position": (PLACEMENT, "    preset: llama\n"),
    "base_alone": (PLACEMENT, "    base: {sequence: attention}\n"),
    "depth_zero": ("depth: {choice: [2, 3]}", "depth: 0"),
    "count_above_depth": ("{count: {range: [1, 2]}}", "{count: 3}"),
    "too_many_subsets": ("depth: {choice: [2, 3]}", "depth: 99"),
    "unknown_rule": ("[positions, ", "[position, "),
    "bare_rule": ("{every: {choice: [1, 2]}}", "every"),
    "duplicate_rule": ("[positions, ", "[positions, positions, "),
    "every_zero": ("{every: {choice: [1, 2]}}", "{every: 0}"),
    # training, objectives, constraints, search
    "negative_rate": ("learning_rate: 1e-3", "learning_rate: -1e-3"),
    "rates_twice": ("search: {", "search: {learning_rates: [1e-3, 1e-2], "),
    "rates_fall": (
        ", learning_rate: 1e-3}\nobjectives: [accuracy, flops]\nconstraints: [growth < 2, params"
        " <= 2e6]\nsearch: {",
        "}\nsearch: {learning_rates: [1e-2, 1e-3], ",
    ),
    "rung_beyond_the_end": ("search: {", "search: {rungs: [0.5, 1]}  #{"),
    "unknown_stopping": ("search: {", "search: {stopping: frnt, "),
    "deterministic_by_time": (
        "search: {",
        "search: {deterministic: true, time_budget_minutes: 5}  #{",
    ),
    "no_lag": ("search: {", "search: {lag: 0, "),
    "small_batch": ("batch_tokens: 1024", "batch_tokens: 16"),
    "one_objective": ("[accuracy, flops]", "[accuracy]"),
    "swapped_objectives": ("[accuracy, flops]", "[flops, accuracy]"),
    "learnability_second": ("[accuracy, flops]", "[accuracy, learnability]"),
    "learnability_misspelt": ("[accuracy, flops]", "[accuracy, flops, learnable]"),
    "learnability_without_a_race": ("[accuracy, flops]", "[accuracy, flops, learnability]"),
    "four_objectives": ("[accuracy, flops]", "[accuracy, flops, learnability, state]"),
    "unknown_objective": ("[accuracy, flops]", "[accuracy, flop]"),
    "constraint_metric": ("growth < 2", "grwth < 2"),
    "constraint_operator": ("growth < 2", "growth => 2"),
    "constraint_number": ("growth < 2", "growth < two"),
    "constraint_form": ("growth < 2", "__import__('os')"),
    "constraint_mapping": ("growth < 2", "{growth: 2}"),
    "constraint_twice": ("growth < 2", "growth < 2, growth < 2.0"),
    "unknown_sampler": ("sampler: tpe", "sampler: tpa"),
    "no_budget": ("trials: 10", "trials: null"),
    "zero_trials": ("trials: 10", "trials: 0"),
    "negative_seed": ("seed: 0", "seed: -1"),
    "search_list": ("{sampler: tpe, trials: 10, seed: 0}", "[tpe]"),
    "binary_that_is_none": ("steps: 100", "steps: 0b12"),
    "stray_character": ("title: A demonstration", "title: 'a' 'b'"),
    "quoted_number": ("title: A demonstration", "title: ok\nsearch: {seed: '012'}\n#"),
    "ambiguous_choice": ("[32, 64]", "[32, 010]"),
    "ambiguous_domain": ("norm: layernorm", "norm: 12:30"),
    "ambiguous_bounds": ("{choice: [32, 64]}", "{range: [010, 64]}"),
    "ambiguous_log": ("{choice: [32, 64]}", "{range: [32, 64], log: 0x1}"),
    "ambiguous_mixer": ("- attention", "- 12:30"),
    "ambiguous_mixer_name": ("{mixer: short_conv,", "{mixer: 12:30,"),
    "ambiguous_mixer_choice": (
        "sequence: {mixer: short_conv, kernel_size: {choice: [3, 5]}}",
        "sequence: {choice: !x [short_conv]}",
    ),
    "ambiguous_layers": (PLACEMENT, "    !x {each: 1}\n"),
    "ambiguous_list": (PLACEMENT, "    list: !x []\n"),
    "ambiguous_placement": (PLACEMENT, "    base: {sequence: attention}\n    placement: 12:30\n"),
    "ambiguous_rule": ("[positions, ", "[12:30, "),
    "ambiguous_training": ("training: {", "training: !x {"),
    "alias_as_key": ("  norm: layernorm", "  *norm : layernorm"),
    "empty_mixer_choice": (
        "sequence: {mixer: short_conv, kernel_size: {choice: [3, 5]}}",
        "sequence: {choice: []}",
    ),
    "empty_rule_choice": ("rule: {choice: [", "rule: {choice: []}\n#"),
    "mixer_mapping_name": ("mixer: short_conv", "mixer: [short_conv]"),
    "layers_text": (PLACEMENT, "    each: free\n"),
    "block_list": (PLACEMENT, "    list: {sequence: attention}\n"),
    "placement_text": (PLACEMENT, "    base: {sequence: attention}\n    placement: often\n"),
    "rule_number": ("rule: {choice: [positions, ", "rule: {choice: [3, "),
    "rule_list": ("rule: {choice: [positions, ", "rule: {choice: [[positions], "),
    "misspelt_rule": ("{every: {choice: [1, 2]}}", "{evry: 2}"),
    "heads_out_of_bounds": ("- attention", "- {mixer: attention, num_heads: 0}"),
    "window_zero": ("[16, sqrt, N/8]", "[0, sqrt, N/8]"),
    "window_fraction": ("[16, sqrt, N/8]", "[16.0, sqrt, N/8]"),
    "range_of_fractions": ("{choice: [3, 5]}", "{range: [3.0, 5.5]}"),
    "fraction_for_union": (
        "mixer: short_conv, kernel_size: {choice: [3, 5]}",
        "mixer: base_conv, kernel_size: {choice: [long, 3.5]}",
    ),
    "bound_in_union": (
        "mixer: short_conv, kernel_size: {choice: [3, 5]}",
        "mixer: base_conv, kernel_size: 1",
    ),
    "word_in_union": (
        "mixer: short_conv, kernel_size: {choice: [3, 5]}",
        "mixer: base_conv, kernel_size: lang",
    ),
    "constraints_text": ("[growth < 2, params <= 2e6]", "growth < 2"),
    "unknown_precision": ("training: {", "training: {precision: fp32, "),
    "zero_minutes": ("search: {", "search: {time_budget_minutes: 0, "),
    "cells_of_numbers": ("{length: 16, pairs: 2}", "16"),
    "same_cell_twice": ("{length: 32, pairs: 4}", "{length: 16, pairs: 2}"),
    "bad_test_cell": ("  cells:", "  test_cells: [{length: 16, pairs: two}]\n  cells:"),
    "unknown_test_cell_key": ("  cells:", "  test_cells: [{length: 16, pairs: 2, a: 1}]\n  cells:"),
    "several_at_once": ("name: demo\ntitle: A demonstration", "nam: demo\ntitle: 3\nseed: 1"),
}


def text_of(case: str) -> str:
    """The text of a case."""
    old, new = CASES[case]
    if old is None:
        return new
    assert GOOD.count(old) >= 1, case
    return GOOD.replace(old, new, 1)
