//! Messages of the player websocket.
