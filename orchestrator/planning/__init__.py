"""What a run would take, and what an old one took again."""
