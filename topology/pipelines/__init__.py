"""The shipped pipelines, one YAML file each."""
