"""llama.cpp through llama_cpp's C functions: one sequence, and a cache that can be filled without reading a prompt."""

import ctypes
import os
import struct
import sys
import time

import llama_cpp as ll
import numpy as np

BATCH = 512  # n_batch and n_ubatch: a prompt of 512 tokens is one batch
F16 = 1  # ggml_type of both caches


def _silent(level, text, user_data):
    if level == 4 or os.environ.get("LLAMA_LOG"):  # errors
        sys.stderr.write(text.decode(errors="replace"))


_log = ll.llama_log_callback(_silent)


class Llama:
    def __init__(self, path, context, threads):
        ll.llama_log_set(_log, ctypes.c_void_p(0))
        ll.llama_backend_init()
        self.model = ll.llama_model_load_from_file(str(path).encode(), ll.llama_model_default_params())
        if not self.model:
            sys.exit(f"llama.cpp cannot load {path}")
        self.vocab_size = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self.model))
        params = ll.llama_context_default_params()  # flash attention: auto; caches in F16
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = context, BATCH, BATCH, 1
        params.n_threads = params.n_threads_batch = threads
        self.context = ll.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit(f"llama.cpp cannot make a context of {context} for {path}")
        self.memory = ll.llama_get_memory(self.context)
        self.batch = ll.llama_batch_init(BATCH, 0, 1)

    def set_threads(self, threads):
        ll.llama_set_n_threads(self.context, threads, threads)

    def decode(self, tokens, pos, all_logits=False):
        """Reads tokens at positions pos, ...; logits of the last one, or of all. At most BATCH of them."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = int(token), pos + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = all_logits or i == len(tokens) - 1
        if ll.llama_decode(self.context, batch):
            sys.exit(f"llama_decode failed at position {pos}")
        ll.llama_synchronize(self.context)
        rows = len(tokens) if all_logits else 1
        logits = ll.llama_get_logits(self.context)
        return np.ctypeslib.as_array(logits, (rows, self.vocab_size))

    def truncate(self, depth):
        if not ll.llama_memory_seq_rm(self.memory, 0, depth, -1):
            sys.exit(f"llama.cpp cannot go back to position {depth}")

    def clear(self):
        ll.llama_memory_clear(self.memory, False)

    def read(self, depth, rng):
        for pos in range(0, depth, BATCH):
            self.decode(rng.integers(0, self.vocab_size, min(BATCH, depth - pos)), pos)

    def fill(self, depth, rng):
        """Puts rows of normal numbers into the caches at positions 0 .. depth - 1, by way of a saved sequence.

        A saved sequence of one position says what rows there are; the same with more cells and other rows is restored.
        Saved: magic, sequence; then for the latents and for the index keys: streams (1), cells, {position, sequences
        (1), sequence} of each cell, transposed values (0), layers, {type, row size as 64 bits, rows} of each layer.
        """
        self.clear()
        if not depth:
            return
        self.decode([1], 0)
        size = ll.llama_state_seq_get_size(self.context, 0)
        one = (ctypes.c_uint8 * size)()
        if ll.llama_state_seq_get_data(self.context, one, size, 0) != size:
            sys.exit("llama.cpp did not save its state")
        one, at = bytes(one), 8
        parts = [np.frombuffer(one[:8], np.uint8)]
        cells = np.zeros((depth, 3), np.int32)
        cells[:, 0], cells[:, 1] = np.arange(depth), 1
        normal = rng.standard_normal(1 << 16).astype(np.float16)
        for _ in range(2):
            streams, count, pos, sequences, sequence, transposed, layers = struct.unpack_from("<2I5i", one, at)
            if (streams, count, pos, sequences, sequence, transposed) != (1, 1, 0, 1, 0, 0):
                sys.exit("llama.cpp's saved state has another form than this script knows")
            at += 28
            parts += [np.array([1, depth], np.uint32), cells, np.array([0, layers], np.uint32)]
            for _ in range(layers):
                kind, row = struct.unpack_from("<iQ", one, at)
                if kind != F16:
                    sys.exit("llama.cpp's cache is not F16")
                parts += [np.frombuffer(one[at : at + 12], np.uint8),
                          normal[rng.integers(0, 1 << 16, depth * row // 2, dtype=np.uint16)]]
                at += 12 + row
        if at != len(one):
            sys.exit(f"llama.cpp's saved state has {len(one)} bytes, {at} were expected")
        state = np.concatenate([part.reshape(-1).view(np.uint8) for part in parts])
        self.clear()
        pointer = state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        if ll.llama_state_seq_set_data(self.context, pointer, state.size, 0) != state.size:
            sys.exit(f"llama.cpp did not take a state of {depth} positions")

    def prefill_speed(self, tokens, depth):
        begin = time.perf_counter()
        for at in range(0, len(tokens), BATCH):
            self.decode(tokens[at : at + BATCH], depth + at)
        seconds = time.perf_counter() - begin
        self.truncate(depth)
        return len(tokens) / seconds

    def decode_speed(self, tokens, depth):
        self.decode(tokens[:1], depth)  # not timed: its graph is another than the prompt's
        begin = time.perf_counter()
        for i, token in enumerate(tokens[1:], 1):
            self.decode([token], depth + i)
        seconds = time.perf_counter() - begin
        self.truncate(depth)
        return (len(tokens) - 1) / seconds

    def close(self):
        ll.llama_batch_free(self.batch)
        ll.llama_free(self.context)
        ll.llama_model_free(self.model)
