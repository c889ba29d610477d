"""Which phone photo belongs to which DSLR photo: by name, order, time, or a list.

    pairing = pair_photos(phone_folder, dslr_folder, PairingConfig(pair_by="time"))
    for name, phone, dslr in pairing.pairs: ...

What is missing or not certain is listed, never guessed.
"""
