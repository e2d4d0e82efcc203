"""The umbrella command `longtail`: groups load their package only when used."""
