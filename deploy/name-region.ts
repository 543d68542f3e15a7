/** What this plugin needs of osls. */
type Serverless = {
  processedInput: { commands: string[] };
  classes: { Error: new (message: string) => Error };
};

/** Commands that change a stack must name its region, so that it is the region of the secret. */
export default class NameRegion {
  hooks: { initialize: () => void };

  constructor(serverless: Serverless, options: { region?: string }) {
    this.hooks = {
      initialize: () => {
        const [command = ''] = serverless.processedInput.commands;
        if (!['deploy', 'rollback', 'remove'].includes(command) || options.region || process.env.AWS_REGION) return;
        throw new serverless.classes.Error(
          'Name the region: set AWS_REGION, or add --region. The secret must be in the same region.',
        );
      },
    };
  }
}
