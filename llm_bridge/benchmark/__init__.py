"""How fast a language model of any size samples and trains here, beside what the device allows."""
