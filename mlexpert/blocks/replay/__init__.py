"""Memories of rows that a stream brought: which of them are kept, and how they are drawn again."""
