"""The kill sweep: real processes, ended with SIGKILL at every named point of their work, then started again."""
