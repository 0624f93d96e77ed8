"""What a local teacher says: the model's own logits, row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.teachers import ALL, LINES, Counting, empty, encoded
from support.tiny import llama, tokenizer

from cogen.fusion.distill.alignment.encode import Encoded
from cogen.fusion.distill.teachers import teacher as module
from cogen.fusion.distill.teachers.needs import TeacherStatistics
from cogen.fusion.distill.teachers.teacher import LocalTeacher


class TestTeacher:
    """Rows, in the right place."""

    def test_row_i_predicts_token_i_and_one_more_what_follows(self) -> None:
        """Pitfall 2: off by one, and the first token of an answer is predicted too."""
        teacher, texts = Counting(), encoded()
        words = torch.from_numpy(teacher.encoder.begins_word)
        for text, output in zip(texts, teacher.score(texts, ALL), strict=True):
            with torch.no_grad():
                logp = llama()(torch.from_numpy(text.ids[None].astype(np.int64))).logits[0].double().log_softmax(1)
            m = text.stop - text.start
            rows = logp[text.start - 1 : text.stop]
            assert [len(output[name]) for name in ("logprob", "boundary", "top", "sparse_ids")] == [
                m,
                m + 1,
                m + 1,
                m + 1,
            ]
            token = [rows[i, text.ids[text.start + i]].item() for i in range(m)]
            np.testing.assert_allclose(output["logprob"], token, rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(output["boundary"], rows[:, words].logsumexp(1), rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(output["top"], rows.topk(5).values, rtol=1e-3, atol=1e-3)
            assert np.array_equal(output["sparse_ids"], rows.topk(12).indices)

    def test_company_changes_nothing(self) -> None:
        """Texts are padded to batches; alone each has the same figures."""
        teacher, texts = Counting(), encoded()
        for text, output in zip(texts, teacher.score(texts, ALL), strict=True):
            (alone,) = teacher.score([text], ALL)
            np.testing.assert_allclose(output["logprob"], alone["logprob"], rtol=2e-3, atol=2e-3)

    def test_it_is_loaded_when_it_is_needed(self) -> None:
        teacher = Counting()
        assert teacher.loaded == 0
        list(teacher.score(encoded(), ALL))
        list(teacher.score(encoded(), ALL))
        assert teacher.loaded == 1
        teacher.release()
        list(teacher.score(encoded(), ALL))
        assert teacher.loaded == 2

    def test_logits_that_are_changed_behind_the_head(self) -> None:
        """Gemma 2 caps its logits: its own forward pass is asked."""
        from transformers import Gemma2Config, Gemma2ForCausalLM

        torch.manual_seed(1)
        model = Gemma2ForCausalLM(
            Gemma2Config(  # type: ignore[call-arg]
                vocab_size=300,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=8,
                final_logit_softcapping=0.5,
                initializer_range=1.0,
                attn_implementation="eager",
            )
        ).eval()
        (text,) = encoded(LINES[:1])
        (output,) = LocalTeacher(lambda: model, tokenizer(), "g").score([text], ALL)
        with torch.no_grad():
            logp = model(torch.from_numpy(text.ids[None].astype(np.int64))).logits[0].double().log_softmax(1)
        np.testing.assert_allclose(output["top"], logp[text.start - 1 : text.stop].topk(5).values, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("kind", ["bert", "modernbert-decoder"])
    def test_a_head_that_is_more_than_one_matrix(self, kind: str) -> None:
        """BERT's head transforms states first; ModernBERT's decoder calls its matrix the decoder."""
        from transformers import AutoConfig, AutoModelForCausalLM

        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(
                kind,
                vocab_size=300,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=64,
                initializer_range=0.5,
                is_decoder=True,
                pad_token_id=0,
                bos_token_id=0,
                eos_token_id=0,
                cls_token_id=0,
                sep_token_id=0,
            )
        ).eval()
        texts = encoded(LINES[:3])
        for text, output in zip(texts, LocalTeacher(lambda: model, tokenizer(), "m").score(texts, ALL), strict=True):
            with torch.no_grad():
                logp = model(torch.from_numpy(text.ids[None].astype(np.int64))).logits[0].double().log_softmax(1)
            rows = logp[text.start - 1 : text.stop]
            np.testing.assert_allclose(output["top"], rows.topk(5).values, rtol=2e-3, atol=2e-3)

    def test_only_rows_that_are_asked_for_go_through_a_plain_head(self) -> None:
        """But for the few tokens on which it is found to be plain."""
        model, seen = llama(), []
        model.get_output_embeddings().register_forward_hook(lambda _, args, out: seen.append(out[..., 0].numel()))
        texts = encoded()
        list(LocalTeacher(lambda: model, tokenizer(), "m").score(texts, ALL))
        assert sum(seen) <= sum(text.stop - text.start + 1 for text in texts) + 2 * 16

    def test_a_chat_template_is_part_of_the_tokenizers_digest(self) -> None:
        import copy

        other = copy.deepcopy(tokenizer())
        other.chat_template = "{{ messages }}"
        assert (
            LocalTeacher(llama, other, "x").tokenizer_digest != LocalTeacher(llama, tokenizer(), "x").tokenizer_digest
        )

    def test_rows_of_an_answer_behind_a_prompt(self) -> None:
        """Neither the prompt nor what closes a turn has rows."""
        (whole,) = encoded(LINES[3:4])
        text = Encoded(whole.ids, 4, len(whole.ids) - 2, whole.ends[3:-2])
        (output,) = Counting().score([text], ALL)
        with torch.no_grad():
            logp = llama()(torch.from_numpy(text.ids[None].astype(np.int64))).logits[0].double().log_softmax(1)
        token = [logp[i - 1, text.ids[i]].item() for i in range(4, text.stop)]
        np.testing.assert_allclose(output["logprob"], token, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(output["top"], logp[3 : text.stop].topk(5).values, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize(("tokens", "rows"), [(1, 128), (64, 3), (10**6, 1), (10**6, 10**6)])
    def test_sizes_of_batches_and_slices_change_nothing(
        self, tokens: int, rows: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Beyond rounding; and every text has its own figures, in the order in which it was given."""
        texts = encoded()
        wanted = TeacherStatistics(logprob=True, boundary=True, top=300, sparse=300)
        usual = list(Counting().score(texts, wanted))
        monkeypatch.setattr(module, "TOKENS", tokens)
        monkeypatch.setattr(module, "ROWS", rows)
        for one, other in zip(usual, Counting().score(texts, wanted), strict=True):
            np.testing.assert_allclose(one["logprob"], other["logprob"], rtol=2**-10, atol=2e-5)
            np.testing.assert_allclose(one["boundary"], other["boundary"], rtol=2**-10, atol=2e-5)
            np.testing.assert_allclose(one["sparse_logprobs"], other["sparse_logprobs"], rtol=1e-5, atol=2e-5)

    def test_a_model_in_bfloat16(self) -> None:
        """The logits are the model's own; what is made of them is in float32."""
        (text,) = encoded(LINES[:1])
        model = llama(dtype="bfloat16")
        (output,) = LocalTeacher(lambda: model, tokenizer(), "b").score([text], ALL)
        with torch.inference_mode():
            logp = model(torch.from_numpy(text.ids[None].astype(np.int64))).logits[0].double().log_softmax(1)
        rows = logp[text.start - 1 : text.stop]
        np.testing.assert_allclose(output["sparse_logprobs"], rows.topk(12).values, rtol=1e-5, atol=1e-5)

    def test_texts_of_which_nothing_was_read(self) -> None:
        texts = encoded()
        teacher = Counting()
        assert list(teacher.score([empty(texts[0])] * 2, ALL)) == [{}, {}]
        assert teacher.loaded == 0
        first, none, second = teacher.score([texts[4], empty(texts[0]), texts[1]], ALL)
        assert not none
        assert len(first["logprob"]) == texts[4].stop - texts[4].start
        assert len(second["logprob"]) == texts[1].stop - texts[1].start
        assert list(teacher.score([], ALL)) == []
