"""Trials on warm Ray workers: the pool, its workers, its writer, and who says what comes next."""
