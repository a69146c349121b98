"""Damaged and hostile files of every format, made from valid ones by seeded mutations."""
