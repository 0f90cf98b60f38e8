"""The validate agent: raw submissions become validated records or dead letters."""
