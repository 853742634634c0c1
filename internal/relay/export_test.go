package relay

const MaxConnecting = maxConnecting
