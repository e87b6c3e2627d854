"""`xdit-fetch`: a pinned model of a Hugging Face hub, as a diffusers directory on a shared volume."""
