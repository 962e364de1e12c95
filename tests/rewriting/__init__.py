"""Tests of app/rewriting.

compiled_mail: rewriting/test_html.py
foreign_elements: rewriting/test_html_scanner.py, rewriting/test_html.py
html_syntax: rewriting/test_html_scanner.py, rewriting/test_html.py
links: rewriting/test_html.py
test_fuzzing: hostile HTML, text, messages and tokens, through the whole rewriter
test_postal_mime: what is rewritten reads the same to the parser postal-mime
"""
