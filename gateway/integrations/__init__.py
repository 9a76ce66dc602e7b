"""gateway where others expect a server of another make."""
