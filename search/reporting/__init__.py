"""What a study found: tables, figures, the page, the progress display and the closing words.

Everything here is derived from the trials table and the study's facts; nothing here reads or writes a storage.
"""
