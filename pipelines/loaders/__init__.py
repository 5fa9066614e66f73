"""Files of networks -> the frozen networks of ``networks``, strictly: every weight found, every weight used.

One module per published layout; pickles are read as data only.  Nothing here knows names or addresses (``catalog``).
"""
