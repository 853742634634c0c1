-- Reads part of the history.
-- KEYS: stream. ARGV: ID or '', how many messages.
return history(KEYS[1], ARGV[1], ARGV[2])
