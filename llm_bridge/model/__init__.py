"""The model as a function of shape, parameters and tokens; how it samples, learns and is spread over devices."""
