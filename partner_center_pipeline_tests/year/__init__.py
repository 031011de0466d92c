"""An unattended installation: a day of windows under stepped time, days by ranges, and what happens in a year."""
