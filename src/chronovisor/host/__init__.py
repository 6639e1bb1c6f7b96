"""visord: joins the Config Store, the worlds and the planes, and serves them."""
