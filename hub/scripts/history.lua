-- Reads a page of the history.
-- KEYS: stream. ARGV: ID or '', how many messages, bytes of a page.
return history(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
