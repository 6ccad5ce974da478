import Server

await AmbrotypeCommand.start()
